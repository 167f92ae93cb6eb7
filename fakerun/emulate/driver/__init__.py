"""What `torch.cuda` and `torch.accelerator` answer: devices, properties, memory, streams, random generators."""
