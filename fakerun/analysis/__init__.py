"""What follows from the records: pure functions, no torch, no side effects. Whatever the user should know comes back as a Finding."""
