"""What a model looks at: attention, rollout and AM Flow as pictures and arrays."""
