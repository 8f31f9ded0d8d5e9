"""What tasks that predict values share: metrics, predictions, records and pictures."""
