"""What runs made, kept by the content of what it was made from."""
