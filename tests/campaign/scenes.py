"""All the scenes, by name."""

from __future__ import annotations

from campaign.scene import Scene
from campaign.scenes_child import ChildBegins, ChildBeginsProxied, ChildDrains, ChildEchoes, ChildIdles, ChildLifetime
from campaign.scenes_clients import Burst, Full, FullRefusing, Idle, OneClient, OneClientAtDebug, Proxied, Rules
from campaign.scenes_end import Drain, Stop, StopRootsDirectory
from campaign.scenes_reload import Reload, ReloadChanges, ReloadFails, Reopen
from campaign.scenes_upgrade import Upgrade, UpgradeTrial
from campaign.supervised import DrainSupervised, OneClientSupervised, ReloadFromSyslog, ReloadSupervised

ALL: tuple[type[Scene], ...] = (
    Idle, OneClient, OneClientAtDebug, Burst, Rules, Proxied, Full, FullRefusing,
    Reload, ReloadChanges, ReloadFails, Reopen, Upgrade, UpgradeTrial, Drain, Stop, StopRootsDirectory,
    OneClientSupervised, ReloadSupervised, ReloadFromSyslog, DrainSupervised,
    ChildBegins, ChildBeginsProxied, ChildEchoes, ChildIdles, ChildLifetime, ChildDrains,
)  # fmt: skip
SCENES = {scene.name: scene for scene in ALL}
