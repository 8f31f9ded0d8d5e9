import numpy as np

from eva_core.job import Job
from eva_vision.slide_level.metadata import metadata_vectors
from tests.vision.slide_level.bags.test_bag_store import opened


def test_sites_have_places_and_sizes_are_standardised_by_train(job: Job):
    store, rows = opened(job), np.arange(10)
    vectors = metadata_vectors(job.dataset, store, rows, rows)
    assert vectors.shape == (10, 5)  # slides, area, tissue; two sites
    assert np.allclose(vectors.mean(0), 0, atol=1e-6)
    two, one = vectors[0], vectors[2]
    assert two[0] > one[0]  # patient 0 has two slides


def test_a_site_that_train_lacks_is_unknown(job: Job):
    store = opened(job)
    train = np.flatnonzero(store.sites == "x")
    assert metadata_vectors(job.dataset, store, np.arange(10), train).shape == (10, 4)
