import pytest

from mixgrpo.bench.namespaces import possible
from mixgrpo.bench.network import Case, Network, rows_of


@pytest.mark.long
@pytest.mark.skipif(not possible(), reason="only root can make network namespaces")
@pytest.mark.parametrize("case", [Case("none", 2), Case("full", 2), Case("full", 4)])
def test_processes_send_each_other_what_was_planned(case: Case) -> None:
    (row,) = rows_of(case, [Network(None)])
    assert row["sent_bytes"] == pytest.approx(row["planned_bytes"], rel=0.05)
