"""Pictures of a result: what heads see in the patches of single samples, and all samples in one plot."""
