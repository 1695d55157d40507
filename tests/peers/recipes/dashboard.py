"""A Streamlit app: a button, and how often it was pressed in this session."""

import streamlit as st

st.session_state.setdefault("presses", 0)
if st.button("press"):
    st.session_state.presses += 1
st.write(f"pressed {st.session_state.presses} times")
