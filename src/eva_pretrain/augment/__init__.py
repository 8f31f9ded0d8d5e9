"""Augmentation on the device, for a whole batch at once: from patches to the crops of student and teacher."""
