"""Pathology foundation models whose weights lie on the Hugging Face hub under timm's names.

Those in transformers' format are in `huggingface.py`, those in DINOv2's or from release files in `releases.py`.
What a card states comes from the model's page or paper; what neither says is left unknown. Revisions, and the size and
interpolation that each authors' `config.json` states, are as two public projects pin and quote them:
github.com/CraigMyles/raw2features (registry.yaml) and the manifest of the Spectra adapters (MedARC).
"""

from eva_core.types import Backbone, Geometry, ModelCard, card
from eva_vision.models.timm import timm_model

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
H_OPTIMUS = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)


@card(
    ModelCard(
        name="uni",
        dim=1024,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=16,
        prefix_tokens=1,
        licence="CC-BY-NC-ND-4.0",
        source="https://huggingface.co/MahmoodLab/UNI",
        revision="b55a5ec6cade1a39edfe6534189a9b8ca7a022f0",
        gated=True,
        trained_on="Mass-100K: 100 million patches of 100,000 slides of MGH, BWH and GTEx (Chen et al. 2024, "
        "doi:10.1038/s41591-024-02857-3)",
        collections=("GTEx",),
    )
)
def uni() -> Backbone:
    """UNI, ViT-L/16 of the Mahmood Lab.

    Source: github.com/mahmoodlab/UNI.
    """
    weights = "hf-hub:MahmoodLab/UNI@b55a5ec6cade1a39edfe6534189a9b8ca7a022f0"
    return timm_model("vit_large_patch16_224", weights, size=224, init_values=1e-5)


@card(
    ModelCard(
        name="uni2_h",
        dim=1536,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=14,
        prefix_tokens=9,
        licence="CC-BY-NC-ND-4.0",
        source="https://huggingface.co/MahmoodLab/UNI2-h",
        revision="d517a8dd47902dd7c308b3c36f63bce47e7b9a43",
        gated=True,
        trained_on="over 200 million H&E and IHC patches of over 350,000 slides (github.com/mahmoodlab/UNI)",
    )
)
def uni2_h() -> Backbone:
    """UNI2-h, ViT-H/14 with 8 registers of the Mahmood Lab.

    Source: github.com/mahmoodlab/UNI.
    """
    return timm_model(
        "vit_giant_patch14_224",
        "hf-hub:MahmoodLab/UNI2-h@d517a8dd47902dd7c308b3c36f63bce47e7b9a43",
        size=224,
        depth=24,
        num_heads=24,
        embed_dim=1536,
        mlp_ratio=2.66667 * 2,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
        reg_tokens=8,
        no_embed_class=True,
        init_values=1e-5,
    )


@card(
    ModelCard(
        name="h_optimus_0",
        dim=1536,
        mean=H_OPTIMUS[0],
        std=H_OPTIMUS[1],
        patch_size=14,
        prefix_tokens=5,
        precision="fp16",
        mpp=(0.5,),
        licence="Apache-2.0",
        source="https://huggingface.co/bioptimus/H-optimus-0",
        revision="b145cc1e6c6b30d3251aa8b1f844e6974188a743",
        gated=True,
        trained_on="proprietary: over 500,000 H&E slides (github.com/bioptimus/releases, h-optimus/v0)",
        collections=(),
    )
)
def h_optimus_0() -> Backbone:
    """H-optimus-0, ViT-g/14 with 4 registers of Bioptimus.

    Source: github.com/bioptimus/releases, models/h-optimus/v0.
    """
    weights = "hf-hub:bioptimus/H-optimus-0@b145cc1e6c6b30d3251aa8b1f844e6974188a743"
    return timm_model("vit_giant_patch14_reg4_dinov2", weights, size=224, init_values=1e-5)


@card(
    ModelCard(
        name="h_optimus_1",
        dim=1536,
        mean=H_OPTIMUS[0],
        std=H_OPTIMUS[1],
        patch_size=14,
        prefix_tokens=5,
        precision="fp16",
        mpp=(0.5,),
        licence="CC-BY-NC-ND-4.0",
        source="https://huggingface.co/bioptimus/H-optimus-1",
        revision="3592cb220dec7a150c5d7813fb56e68bd57473b9",
        gated=True,
        trained_on="proprietary: over 1 million H&E slides of over 800,000 patients (resources.bioptimus.com)",
        collections=(),
    )
)
def h_optimus_1() -> Backbone:
    """H-optimus-1, ViT-g/14 with 4 registers of Bioptimus.

    Source: huggingface.co/bioptimus/H-optimus-1.
    """
    weights = "hf-hub:bioptimus/H-optimus-1@3592cb220dec7a150c5d7813fb56e68bd57473b9"
    return timm_model("vit_giant_patch14_reg4_dinov2", weights, size=224, init_values=1e-5)


@card(
    ModelCard(
        name="h0_mini",
        dim=768,
        mean=H_OPTIMUS[0],
        std=H_OPTIMUS[1],
        patch_size=14,
        prefix_tokens=5,
        geometry=Geometry(interpolation="bicubic"),
        precision="fp16",
        licence="CC-BY-NC-ND-4.0",
        source="https://huggingface.co/bioptimus/H0-mini",
        revision="5b5cc0505d19ae558270045eb0df8c34df4d9609",
        gated=True,
        trained_on="43 million tiles of TCGA, distilled from H-optimus-0 (Filiot et al. 2025, arXiv:2501.16239)",
        collections=("TCGA",),
    )
)
def h0_mini() -> Backbone:
    """H0-mini, ViT-B/14 with 4 registers of Bioptimus and Owkin, distilled from H-optimus-0.

    Source: huggingface.co/bioptimus/H0-mini.
    """
    return timm_model(
        "vit_base_patch14_reg4_dinov2",
        "hf-hub:bioptimus/H0-mini@5b5cc0505d19ae558270045eb0df8c34df4d9609",
        size=224,
        mlp_ratio=5.33334,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
        init_values=1e-5,
    )


@card(
    ModelCard(
        name="prov_gigapath",
        dim=1536,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=16,
        prefix_tokens=1,
        geometry=Geometry(resize=256, crop=224, interpolation="bicubic"),
        mpp=(0.5,),
        licence="Apache-2.0; research use only, says the model card",
        source="https://huggingface.co/prov-gigapath/prov-gigapath",
        revision="eba85dd46097c3eedfcc2a3a9a930baecb6bcc19",
        gated=True,
        trained_on="Prov-Path: 1.3 billion tiles of 171,189 slides of Providence (Xu et al. 2024, "
        "doi:10.1038/s41586-024-07441-w)",
        collections=(),
    )
)
def prov_gigapath() -> Backbone:
    """Prov-GigaPath, ViT-g/16 tile encoder of Microsoft and Providence.

    Source: github.com/prov-gigapath/prov-gigapath.
    """
    return timm_model(
        "vit_giant_patch14_dinov2",
        "hf-hub:prov-gigapath/prov-gigapath@eba85dd46097c3eedfcc2a3a9a930baecb6bcc19",
        size=224,
        patch_size=16,
        depth=40,
        num_heads=24,
        mlp_ratio=5.33334,
        init_values=1e-5,
    )


@card(
    ModelCard(
        name="virchow",
        dim=2560,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=14,
        prefix_tokens=1,
        geometry=Geometry(interpolation="bicubic"),
        pooling="cls_mean",
        precision="fp16",
        mpp=(0.5,),
        licence="Apache-2.0",
        source="https://huggingface.co/paige-ai/Virchow",
        revision="19eebc84ae33e79f1b2d866e6ff90ae50e522f9a",
        gated=True,
        trained_on="1.5 million H&E slides of Memorial Sloan Kettering (Vorontsov et al. 2024, "
        "doi:10.1038/s41591-024-03141-0)",
        collections=(),
    )
)
def virchow() -> Backbone:
    """Virchow, ViT-H/14 of Paige.

    Source: huggingface.co/paige-ai/Virchow.
    """
    backbone = timm_model(
        "vit_huge_patch14_224",
        "hf-hub:paige-ai/Virchow@19eebc84ae33e79f1b2d866e6ff90ae50e522f9a",
        size=224,
        mlp_ratio=5.3375,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
        init_values=1e-5,
    )
    backbone.pooling = "cls_mean"  # the card's, for whoever runs it without a protocol
    return backbone


@card(
    ModelCard(
        name="virchow2",
        dim=2560,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=14,
        prefix_tokens=5,
        geometry=Geometry(interpolation="bicubic"),
        pooling="cls_mean",
        precision="fp16",
        mpp=(0.25, 0.5, 1.0, 2.0),
        licence="CC-BY-NC-ND-4.0",
        source="https://huggingface.co/paige-ai/Virchow2",
        revision="3158645804b69e3f3bc4439d4116edddf0840a72",
        gated=True,
        trained_on="3.1 million slides of several institutions and stains (Zimmermann et al. 2024, arXiv:2408.00738)",
    )
)
def virchow2() -> Backbone:
    """Virchow2, ViT-H/14 with 4 registers of Paige.

    Source: huggingface.co/paige-ai/Virchow2.
    """
    backbone = timm_model(
        "vit_huge_patch14_224",
        "hf-hub:paige-ai/Virchow2@3158645804b69e3f3bc4439d4116edddf0840a72",
        size=224,
        mlp_ratio=5.3375,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
        reg_tokens=4,
        init_values=1e-5,
    )
    backbone.pooling = "cls_mean"  # the card's, for whoever runs it without a protocol
    return backbone
