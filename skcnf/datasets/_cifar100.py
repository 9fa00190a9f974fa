"""Name the classes of CIFAR-100 and their 20 superclasses.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import numpy as np

__all__ = ["CIFAR100_CLASSES", "CIFAR100_SUPERCLASSES", "superclass_labels"]

# In the order of the data set's coarse labels, which is alphabetical, with the five classes of each.
CIFAR100_SUPERCLASSES: dict[str, tuple[str, ...]] = {
    name: tuple(members.split())
    for name, members in {
        "aquatic_mammals": "beaver dolphin otter seal whale",
        "fish": "aquarium_fish flatfish ray shark trout",
        "flowers": "orchid poppy rose sunflower tulip",
        "food_containers": "bottle bowl can cup plate",
        "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
        "household_electrical_devices": "clock keyboard lamp telephone television",
        "household_furniture": "bed chair couch table wardrobe",
        "insects": "bee beetle butterfly caterpillar cockroach",
        "large_carnivores": "bear leopard lion tiger wolf",
        "large_man-made_outdoor_things": "bridge castle house road skyscraper",
        "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
        "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
        "medium_mammals": "fox porcupine possum raccoon skunk",
        "non-insect_invertebrates": "crab lobster snail spider worm",
        "people": "baby boy girl man woman",
        "reptiles": "crocodile dinosaur lizard snake turtle",
        "small_mammals": "hamster mouse rabbit shrew squirrel",
        "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
        "vehicles_1": "bicycle bus motorcycle pickup_truck train",
        "vehicles_2": "lawn_mower rocket streetcar tank tractor",
    }.items()
}
# The data set's fine labels are in alphabetical order too.
CIFAR100_CLASSES = tuple(sorted(member for members in CIFAR100_SUPERCLASSES.values() for member in members))
_OWNER = {member: number for number, members in enumerate(CIFAR100_SUPERCLASSES.values()) for member in members}
_SUPERCLASS = np.array([_OWNER[name] for name in CIFAR100_CLASSES])


def superclass_labels(y: np.ndarray) -> np.ndarray:
    """Return indices (n,) into ``CIFAR100_SUPERCLASSES`` for indices ``y`` (n,) into ``CIFAR100_CLASSES``."""
    return _SUPERCLASS[y]
