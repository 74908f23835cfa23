"""Lightning callbacks: checkpoints, interruption, pictures for TensorBoard, progress."""
