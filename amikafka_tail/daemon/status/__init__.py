"""What the daemon says about itself: on its socket, as metrics, and on the screens made of that."""
