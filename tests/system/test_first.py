from support.sockets import exchange


def test_echoes_a_line(running):
    assert exchange(running.address, b"hello\n") == b"hello\n"
