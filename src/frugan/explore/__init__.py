"""Latent experiments: what lies between, beside and behind the samples of a generator.

Every function takes a `Generator` (`frugan.load`) or `Samples` of one, and returns latents or bytes; `sheets` and
`frugan.pictures.save_film` make pictures and films of them, and ``frugan explore`` both at once::

    generator = frugan.load("runs/faces")
    chosen = explore.samples(generator, 64)                           # those of frugan sample
    loop = explore.walk(chosen.take([3, 17, 5]).latents, 24, path=explore.usual_path(generator.latents))
    film = explore.images_of(generator, loop)                         # bytes [72, height, width, channels]
"""

from frugan.explore.directions import Directions as Directions
from frugan.explore.directions import by_first_layer as by_first_layer
from frugan.explore.directions import by_labels as by_labels
from frugan.explore.directions import by_latents as by_latents
from frugan.explore.directions import by_pca as by_pca
from frugan.explore.exemplars import Result as Result
from frugan.explore.exemplars import Term as Term
from frugan.explore.exemplars import Trials as Trials
from frugan.explore.exemplars import combine as combine
from frugan.explore.exemplars import measure as measure
from frugan.explore.exemplars import parse as parse
from frugan.explore.judges import Judge as Judge
from frugan.explore.judges import open_judge as open_judge
from frugan.explore.judges import open_view as open_view
from frugan.explore.paths import PATHS as PATHS
from frugan.explore.paths import between as between
from frugan.explore.paths import check_path as check_path
from frugan.explore.paths import plane as plane
from frugan.explore.paths import steps_between as steps_between
from frugan.explore.paths import usual_path as usual_path
from frugan.explore.paths import walk as walk
from frugan.explore.projecting import Projection as Projection
from frugan.explore.projecting import project as project
from frugan.explore.samples import Samples as Samples
from frugan.explore.samples import images_of as images_of
from frugan.explore.samples import read_samples as read_samples
from frugan.explore.samples import samples as samples
from frugan.explore.samples import write_samples as write_samples
