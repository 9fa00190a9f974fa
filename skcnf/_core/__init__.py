"""What every room uses: devices, generators, files that appear whole, rows that stream."""
