"""What a picture is worth. A reward knows nothing of training."""
