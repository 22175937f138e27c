"""What a person sees: progress while it runs; certificate and tables when it is done, one file a verb."""
