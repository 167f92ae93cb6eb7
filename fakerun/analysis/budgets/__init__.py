"""What a run must keep: the budgets of a job (`job.budgets`) held against its report, each as a `Check`."""
