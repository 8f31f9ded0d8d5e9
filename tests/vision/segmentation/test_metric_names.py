from eva_vision.segmentation.metric_names import BESIDE, DICE, METRICS


def test_every_metric_of_masks_is_best_at_one():
    assert set(METRICS) == {"dice", "iou", "dice_pooled", "iou_pooled"}
    assert all(metric.higher_is_better for metric in METRICS.values())


def test_boards_show_others_beside_the_main_one():
    assert DICE in METRICS
    assert DICE not in BESIDE
