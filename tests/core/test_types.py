import eva_core.types as old
from eva_core.contracts import backbone, cards, dataset, head


def test_every_old_name_is_the_contract_itself():
    rooms = (backbone, cards, dataset, head)
    for name in old.__all__:
        assert any(getattr(room, name, None) is getattr(old, name) for room in rooms), name
