"""CT, MR and PET: files to arrays in a known frame, regions on them, and crops for encoders."""
