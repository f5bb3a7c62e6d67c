"""What is done with vectors once a model has made them; numpy alone."""
