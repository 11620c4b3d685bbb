"""What `sitbone` does beside serving."""
