"""Augmentation on the device, for a whole batch at once: what the student and the teacher see of a patch."""
