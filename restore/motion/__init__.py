"""Motion between frames: optical flow, warping along it, occlusion, motion of the whole frame."""
