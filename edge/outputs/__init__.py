"""What leaves the box: result files, moved inputs, contact sheets."""
