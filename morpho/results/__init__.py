"""Results: history, checkpoints, ParaView series, STL and pictures, all in one run folder."""
