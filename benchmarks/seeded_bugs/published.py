"""Gradient bugs with a published source, each a small rule of our own with the same bug in it."""

from seeded_bugs.bug import Bug
from seeded_bugs.elementwise import ELEMENTWISE
from seeded_bugs.networks import NETWORKS
from seeded_bugs.normalizations import NORMALIZATIONS
from seeded_bugs.objectives import OBJECTIVES
from seeded_bugs.windows import WINDOWS

PUBLISHED: tuple[Bug, ...] = ELEMENTWISE + NORMALIZATIONS + WINDOWS + NETWORKS + OBJECTIVES
