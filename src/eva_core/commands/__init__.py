"""Commands of `eva`: one thin file each."""
