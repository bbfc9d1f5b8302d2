"""A CE in 30 lines: accepts one FE, asks for FEPO.FEID, and ends the association."""

import socket

import forces as f

CE = 0x40000001


def message(sock: socket.socket) -> f.Message:
    head = sock.recv(24, socket.MSG_WAITALL)
    body = sock.recv(int.from_bytes(head[2:4]) * 4 - 24, socket.MSG_WAITALL)
    return f.decode(head + body)


def run(server: socket.socket) -> int:
    """The FEID that the FE answered with."""
    with server.accept()[0] as sock:
        setup = message(sock)
        kind = f.MessageType.ASSOCIATION_SETUP_RESPONSE
        accepted = f.Message(
            setup.header.reply(kind, f.flags_for(kind)), result=f.SetupResult.SUCCESS
        )
        fe, query = setup.header.source, f.MessageType.QUERY
        body = (f.LfbSelect(2, 1, (f.Operation(f.OperType.GET, (f.PathData((2,)),)),)),)
        ask = f.Message(f.Header(query, CE, fe, 7, f.flags_for(query)), body)
        sock.sendall(f.encode(accepted) + f.encode(ask))
        answer = message(sock)
        teardown = f.Header(f.MessageType.ASSOCIATION_TEARDOWN, CE, fe, 0, f.flags_for(query))
        sock.sendall(f.encode(f.Message(teardown, reason=f.TeardownReason.NORMAL)))
        content = answer.lfbs[0].operations[0].paths[0].content
        return int.from_bytes(content.value)
