"""Loading of a saved classifier."""

from pathlib import Path
from typing import TYPE_CHECKING

from rebalance_core.errors import UserError, first_line
from rebalance_core.system.files import read_json

if TYPE_CHECKING:
    from models.classifier import Classifier


def load_classifier(folder: Path) -> "Classifier":
    """Load what `save_pretrained` wrote; raises UserError for anything else.

    A folder that names `module:function` is refused: loading it would run that code.
    """
    from safetensors import SafetensorError

    from models.classifier import Classifier
    from rebalance_core.training.weights import check_finite

    try:
        config = read_json(folder / "config.json")
        if ":" in str(config["network"]):
            raise UserError(
                f"{folder} contains a classifier of {config['network']}, which is code and not run "
                "from a folder; load it in its own project with `Classifier.from_pretrained`."
            )
        classifier = Classifier.from_pretrained(folder, strict=True).eval()
        check_finite(classifier.state_dict())
        return classifier
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        reason = first_line(error)
        raise UserError(f"{folder} does not contain a readable classifier ({reason}).") from error
