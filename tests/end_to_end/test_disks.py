"""A service whose disk gets nearly full, and gets room again. On a real file system."""

from actors.system.direct_http import open_directly
from tests.chaos.disk import small_disk
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.services import open_service, wait_status

WARNING = "the disk of the state"


def test_a_nearly_full_disk_is_in_the_log_the_status_and_the_metrics_and_its_end_too(tmp_path):
    with small_disk(tmp_path / "state") as disk:
        with open_service("embedded", tmp_path) as service:
            service.start()
            (before,) = service.status()["disks"]
            assert not before["nearly_full"] and WARNING not in service.log()
            disk.fill_to(0.95)
            told = f"{WARNING} ({service.state_dir}) is 9"
            wait_until(lambda: told in service.log(), "the warning")
            assert " MB free: make room; once it is full, plays and publishes wait" in service.log()
            (full,) = service.status()["disks"]
            assert full["nearly_full"] and full["free_bytes"] < before["free_bytes"]
            with open_directly(f"http://{service.address('admin_address')}/metrics", PATIENCE_S) as answer:
                assert b'\nplaytally_disk_free_bytes{place="state"} ' in answer.read()
            assert "disk       of state: 9" in service.command("status").stdout
            disk.free([])
            wait_until(lambda: "has room again, after" in service.log(), "its end")
            wait_status(service, lambda status: not status["disks"][0]["nearly_full"], "room")
