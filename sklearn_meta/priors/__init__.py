"""What is learned over tasks: priors of the parameters of a task, their evidence and posteriors."""
