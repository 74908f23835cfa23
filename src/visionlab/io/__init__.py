"""Files and arrays: images, maps, volumes, series and videos are read and written here."""
