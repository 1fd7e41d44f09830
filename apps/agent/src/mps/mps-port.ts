/** What a supervisor needs of the MPS daemon (actuation.md §2); each call is bounded in time by who implements it. */
export interface MpsPort {
  /** null while no server runs: with the first client the daemon starts one. */
  serverPid(): Promise<number | null>;
  /** `MISSING`: the daemon answers and no server runs yet. Throws where no daemon answers at the pipe directory. */
  status(): Promise<"ACTIVE" | "FAULT" | "INITIALIZING" | "MISSING">;
  clientCount(): Promise<number>;
  /** 48 client contexts per GPU up to CUDA 13.0, 60 from 13.1, 16 before Volta. */
  readonly clientLimit: number;
  terminateClient(clientPid: number): Promise<void>;
}
