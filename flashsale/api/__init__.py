"""The api process: fans' HTTP. The hot lane decides; everything else is ordinary Starlette."""
