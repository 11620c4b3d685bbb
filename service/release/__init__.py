"""What of the knowledge is in force and whom it answers: digests, signatures, states; what is silent or suspended."""
