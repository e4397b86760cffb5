"""Uses of finished runs: export, speed, committed weights, photos."""
