"""What hostile users, strangers and web pages can do: nothing to anybody else."""
