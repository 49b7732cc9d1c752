import { Duplex } from "node:stream";

/** A call whose messages are the bytes of a connection, on whichever side of it. */
export interface BytesCall {
  messages(): AsyncIterable<{ readonly data: Uint8Array }>;
  send(data: Uint8Array): Promise<void> | undefined;
  /** No more is sent. */
  end(): void;
  /** The connection is closed. */
  close(): void;
}

/** The connection. It is destroyed with the error by which the call ends. */
export function connectionOf(call: BytesCall): Duplex {
  const incoming = call.messages()[Symbol.asyncIterator]();
  let isReading = false;
  const connection = new Duplex({
    allowHalfOpen: true,
    read() {
      if (isReading) return;
      isReading = true;
      void take();
    },
    write(chunk: Buffer, _encoding, done) {
      try {
        const wait = call.send(chunk);
        if (wait === undefined) done();
        else wait.then(() => done(), done);
      } catch (error) {
        done(error as Error);
      }
    },
    final(done) {
      call.end();
      done();
    },
    destroy(error, done) {
      call.close();
      done(error);
    },
  });

  async function take(): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await incoming.next();
        if (done === true) {
          connection.push(null);
          return;
        }
        // An empty piece would mean nothing, and nobody would ask for the next one.
        if (value.data.length > 0 && !connection.push(value.data)) break;
      }
      isReading = false;
    } catch (error) {
      connection.destroy(error as Error);
    }
  }

  return connection;
}
