"""An FE in 30 lines: dials the CE at 127.0.0.1, answers its heartbeats and a query of its ID."""

import socket

import forces as f

FE, CE = 2, 0x40000001


def message(sock: socket.socket) -> f.Message:
    head = sock.recv(24, socket.MSG_WAITALL)
    body = sock.recv(int.from_bytes(head[2:4]) * 4 - 24, socket.MSG_WAITALL)
    return f.decode(head + body)


def run(port: int) -> int | None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        setup = f.MessageType.ASSOCIATION_SETUP
        sock.sendall(f.encode(f.Message(f.Header(setup, FE, CE, 1, f.flags_for(setup)))))
        while (got := message(sock)).type is not f.MessageType.ASSOCIATION_TEARDOWN:
            if got.type is f.MessageType.HEARTBEAT and (beat := f.heartbeat_answer(got)):
                sock.sendall(f.encode(beat))
            elif got.type is f.MessageType.QUERY:  # whatever it asks: FEPO.FEID
                path = f.PathData((2,), content=f.FullData(FE.to_bytes(4)))
                body = (f.LfbSelect(2, 1, (f.Operation(f.OperType.GET_RESPONSE, (path,)),)),)
                header = got.header.reply(f.MessageType.QUERY_RESPONSE, got.header.flags)
                sock.sendall(f.encode(f.Message(header, body)))
        return got.reason
