"""Signatures and passwords are of no result, board, index, log or screen; a renewed signature changes no key."""

import pytest

from eva_core.files.addresses import address_of, free_of_secrets, public_address, stable, without_secrets

SECRET = "s3cr3tPW"
OPENED = [
    f"https://h/w.pth?X-Amz-Credential=AKIA&X-Amz-Signature={SECRET}",
    f"https://h/w.pth?AWSAccessKeyId=AKIA&Expires=1&Signature={SECRET}",
    f"https://h/w.pth?X-Goog-Signature={SECRET}",
    f"https://h/w.pth?sv=2020&se=2026&sr=b&sp=r&sig={SECRET}",
    f"https://h/w.pth?Policy=p&Key-Pair-Id=k&Signature={SECRET}",
    f"https://h/w.pth?token={SECRET}",
    f"https://h/w.pth?access_token={SECRET}",
    f"https://alice:{SECRET}@h/w.pth",
    f"https://{SECRET}@h/w.pth",
    f"https://h/w.pth#access_token={SECRET}",
]


@pytest.mark.parametrize("address", OPENED)
def test_what_opens_an_address_is_taken_off(address):
    assert public_address(address) == "https://h/w.pth"
    assert address_of(address) == "https://h/w.pth"
    assert without_secrets(f"Cannot get {address} (see '{address}').").count("https://h/w.pth") == 2
    assert SECRET not in str(free_of_secrets({"a": [address, {"b": f"of {address}."}]}))
    assert stable({"checkpoint": address}) == {"checkpoint": "https://h/w.pth"}


def test_an_unknown_parameter_is_not_shown_and_tells_files_apart():
    one, other = "https://h/get?id=1&sig=a", "https://h/get?id=2&sig=a"
    assert public_address(one) == public_address(other) == "https://h/get"
    assert address_of(one) != address_of(other)


@pytest.mark.parametrize(
    "text",
    [
        *("https://zenodo.org/x.zip?download=1", "https://h/w#sha256=ab12", "s3://b/**/a?.svs", "hf-hub:a/b@main"),
        *("/a?b", "C:/x", "see https://h/a (twice).", "a:b"),
    ],
)
def test_what_opens_nothing_stays_to_the_letter(text):
    assert without_secrets(text) == text
    assert public_address(text) == text
