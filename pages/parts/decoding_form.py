"""How images that are not 8 bits, and volumes, are converted at import."""

from typing import Any

import streamlit as st

from rebalance_core.datasets.source import ImportConfig
from rebalance_core.imaging.picture import PLANES


def decoding_form() -> dict[str, Any]:
    """Render the choices and return them as values of an ImportConfig."""
    fields = ImportConfig.model_fields
    with st.expander("Gray values and volumes", icon=":material/tonality:"):
        columns = st.columns(3)
        gray_range = columns[0].text_input(
            "Range of gray values",
            fields["gray_range"].default,
            key="gray range",
            help="LOW,HIGH: gray values shown as black and white, of images that are not 8 bits, "
            "such as -1000,400. auto: one range for the dataset, or for each series or volume.",
        )
        plane = columns[1].selectbox(
            "Plane of slices", PLANES, key="plane", help="Of NIfTI volumes."
        )
        step = columns[2].number_input(
            "Step between slices",
            1,
            value=fields["slice_step"].default,
            key="slice step",
            help="Every n-th slice of a NIfTI volume is an image; empty ones are left out.",
        )
    return {"gray_range": gray_range.strip(), "plane": plane, "slice_step": int(step)}
