"""A ranking keeps its entries in order, and finds them."""

from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.pruning.ranking import Ranking

entries = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 50)), unique=True)


@given(entries, st.data())
def test_ranks_are_positions_in_the_sorted_list(added, data):
    removed = data.draw(st.lists(st.sampled_from(added), unique=True)) if added else []
    ranking = Ranking()
    for entry in added:
        ranking.add(entry)
    for entry in removed + removed:
        ranking.remove(entry)
    kept = sorted(set(added) - set(removed))
    assert [ranking[rank] for rank in range(len(ranking))] == kept
    assert [ranking.rank(entry) for entry in kept] == list(range(len(kept)))
