"""What people read: each format is made from the verdict alone."""
