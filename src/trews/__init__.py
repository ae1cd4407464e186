"""trews: network programming made easy."""
from trews.loop import EventLoop, new_event_loop, run
