from eva_vision.multilabel.protocol import MultiLabelProtocol


def test_it_holds_as_it_is_for_every_dataset():
    section = MultiLabelProtocol()
    assert section.of("any", MultiLabelProtocol(("other",))) is section
    assert section.heads == ("logreg_labels",)
