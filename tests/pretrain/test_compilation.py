import torch

from eva_pretrain import compilation
from eva_pretrain.compilation import compiled, rows_vary, seconds_compiling


def test_a_number_of_rows_that_varies_has_one_graph_and_its_time_is_counted(monkeypatch):
    import torch._dynamo as dynamo

    monkeypatch.setattr(compilation, "_OPTIONS", {**compilation._OPTIONS, "backend": "eager"})  # graphs are what counts
    dynamo.reset()
    dynamo.utils.counters.clear()
    before = seconds_compiling()
    double = compiled(lambda x: x * 2)
    for n in (3, 5, 4):
        x = torch.randn(n, 2)
        assert torch.equal(double(rows_vary(x, 0)), x * 2)
    assert dynamo.utils.counters["frames"]["total"] == 1
    assert seconds_compiling() > before
