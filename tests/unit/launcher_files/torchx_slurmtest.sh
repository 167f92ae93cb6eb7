# Shortened: the one line of the script that starts ranks.
APP_ID="$(torchx run --wait --log --scheduler slurm dist.ddp -j 2x1 --cpu 1 --max_retries 1 --script main.py)"
