from dataclasses import replace

from eva_core.job import Job
from eva_vision.slide_level.bags.bag_key import bag_key, store_key
from eva_vision.slide_level.contracts import SlideFile


def test_a_bag_depends_on_slide_model_and_patches_and_not_on_its_name_or_dataset(job: Job, cache):
    section = job.resolved.section
    key = bag_key(job.backbone, job.protocol, section)
    path = key.path(SlideFile("a.svs", "/x/a.svs"), "identity")
    assert path.is_relative_to(cache / "bags")
    assert path == key.path(SlideFile("renamed.svs", "/y/renamed.svs"), "identity")
    others = [
        key.path(SlideFile("a.svs", "/x/a.svs"), "another"),
        key.path(SlideFile("a.svs", "/x/a.svs", mpp=0.3), "identity"),
        *(
            bag_key(job.backbone, job.protocol, replace(section, **change)).path(SlideFile("a", "/a"), "identity")
            for change in ({"mpp": 0.7}, {"patches": 5}, {"tissue": 0.1}, {"size": 32}, {"precision": "fp16"})
        ),
    ]
    assert len({path, *others}) == 1 + len(others)
    same = replace(section, heads=("abmil",), runs=3, lr=(0.5,), epochs=9)
    assert bag_key(job.backbone, job.protocol, same) == key


def test_the_list_of_a_dataset_changes_with_its_labels(job: Job):
    key = bag_key(job.backbone, job.protocol, job.resolved.section)
    before = store_key(key, job.dataset)
    job.dataset.samples = [replace(job.dataset.samples[0], target=1), *job.dataset.samples[1:]]
    assert store_key(key, job.dataset).path != before.path
