"""The folder of a result: records, predictions, reports."""
