"""How many GPUs a demand needs: measured service and load times, drawn again and queued at fleets of other sizes."""
